package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestASecretIsNeverFormatted(t *testing.T) {
	c := Config{SessionKey: "hush-hush", Admin: Admin{Token: "hush-hush"}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", c.SessionKey, "admin", c.Admin)
	j, err := json.Marshal(c.Admin)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(c, " ", c.SessionKey) + fmt.Sprintf("%v %+v %#v %s %q %x", c.Admin, c.Admin, c.Admin, c.SessionKey, c.SessionKey, "") + string(j) + log.String()
	if strings.Contains(all, "hush") {
		t.Error(all)
	}
}

func TestLinesAreShownWithoutSecrets(t *testing.T) {
	for line, want := range map[string]string{
		`  key: s3cret`:                             `  key: ***`,
		`  key: s3 cret # why`:                      `  key: ***# why`,
		`  token: "s3\"cret" # x`:                   `  token: *** # x`,
		`{"token":"s3cret","address":"a"}`:          `{"token":***,"address":"a"}`,
		`admin: {token: s3cret, address: a}`:        `admin: {token: ***`,
		`key_file: key.pem`:                         `key_file: key.pem`,
		`discovery: [consul://s3cret@h:1]`:          `discovery: [consul://***@h:1]`,
		`- etcd://u:s3,c/r@et@h:1,i:2/lb`:           `- etcd://***@h:1,i:2/lb`,
		`- consul://s3 cret@h:1`:                    `- consul://***@h:1`,
		`["s3cret@h:1", "consul://h:1"]`:            `["***@h:1", "consul://h:1"]`,
		`LB_DISCOVERY=u:s3cret@h:1`:                 `LB_DISCOVERY=***@h:1`,
		`- consul://h:1?dc=a&token=s3cret&tag=b`:    `- consul://h:1?dc=a&token=***&tag=b`,
		`url: http://h:1`:                           `url: http://h:1`,
		`sticky_session: {key: 's3cret', type: ip}`: `sticky_session: {key: ***, type: ip}`,
		`"key": "s3cret`:                            `"key": ***`,
	} {
		if got, _ := redact(line, 0); got != want {
			t.Errorf("%s is shown as\n%s, want\n%s", line, got, want)
		}
	}
}

func TestThePlaceInALineMovesWithWhatIsHidden(t *testing.T) {
	line := `{token: "long secret text", port: x}`
	got, at := redact(line, strings.Index(line, "x}"))
	if got[at:] != "x}" {
		t.Errorf("the place is before %q", got[at:])
	}
	if _, at := redact(line, strings.Index(line, "secret")); got[at:at+3] != hidden {
		t.Errorf("a place within the secret is before %q", got[at:])
	}
}

func TestLongLinesAreCutAroundThePlace(t *testing.T) {
	p := newSource("f", []byte(strings.Repeat("é", 500)+"X"+strings.Repeat("é", 500))).at(1000).problem("", "m", "")
	if len(p.Text) > 300 || p.Column != 501 || !strings.HasPrefix(p.Text[p.caret:], "X") {
		t.Errorf("%+v", p)
	}
}

// Secrets that stand where they do not belong are not told either.
func TestMisplacedSecretsAreNotTold(t *testing.T) {
	for _, text := range []string{
		"default_service: consul://s3cret@h:1\n",
		"discovery: consul://s3cret@h:1\n",
		"consul://s3cret@h:1: x\n",
		"discovery: {consul://s3cret@h:1: }\n",
		"services: {'consul://s3cret@h:1': {}}\n",
		"admin:\n  token: abc\n    s3cret\n",
		"admin:\n  token: \"abc\n    s3cret\"\n",
		"admin:\n  token: |\n    abc s3cret\n",
		"admin:\n  token: [s3cret]\n",
		"admin:\n  token: &t s3 cret s3cret\n",
		"admin:\n  token: !x s3cret-s3cret\n",
		"listen: {port: \"http://a:s3cret@h\"}\n",
		"sticky_session:\n  key: 's3cret\n",
		"sticky_session:\n  key:\n    - s3cret\n",
	} {
		_, err := Parse("f", []byte(text))
		if err == nil {
			t.Errorf("%q is accepted", text)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q tells:\n%v", text, err)
		}
	}
}
