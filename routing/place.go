package routing

import "time"

// SetPlace tells the balancer's number among those that share its backends, from 0, and how many these are, as
// [Here] has them. Where the settings say it themselves they go before.
func (c *Catalog) SetPlace(index, of int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == index && c.of == of {
		return
	}
	if c.index, c.of = index, of; !c.placed {
		c.settings.Here.Index, c.settings.Here.Of = index, of
		c.touch(time.Time{})
	}
}
