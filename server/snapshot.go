package server

import (
	"github.com/vietddude/load-balancer/admin"
	"github.com/vietddude/load-balancer/metrics"
	"github.com/vietddude/load-balancer/snapshot"
)

// snapshotCheck tells whether the snapshot would be of use now.
func snapshotCheck(st snapshot.Stats) admin.Check {
	c := admin.Check{Name: "snapshot", OK: true}
	if err := st.WriteErr; err != nil {
		c.OK, c.Detail = false, "it cannot be written: "+err.Error()
	} else if st.LoadErr != nil {
		c.OK, c.Detail = false, "it was not loaded at the start: "+st.LoadErr.Error()
	}
	return c
}

// snapshotMetrics is where metrics of the snapshot are read; nil if there is none.
func (s *Server) snapshotMetrics() func() metrics.SnapshotFile {
	if s.snapshot == nil {
		return nil
	}
	return func() metrics.SnapshotFile {
		st := s.snapshot.Stats()
		return metrics.SnapshotFile{
			Configured: true, Written: st.Written, Failed: st.Failed, Last: st.Last, Bytes: st.Size, Loaded: !st.Loaded.IsZero(), Corrupt: st.Corrupt,
		}
	}
}
