package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-stepup/stepup/ciba/approval/redisstore/redistest"
)

func TestGateways_shareRedisWithTLSAndAUserAndADatabase(t *testing.T) {
	t.Parallel()
	certs := redistest.NewCertificates(t)
	server := certs.Start(t)
	rights := "on >password ~bank:* &bank:* -@all +eval +evalsha +time +get +set +del +hget +hmget +hset +hdel " +
		"+pexpireat +pttl +zadd +zrem +zrange +zrangebyscore +publish +subscribe +select"
	args := []any{"acl", "setuser", "stepup"}
	for _, right := range strings.Fields(rights) {
		args = append(args, right)
	}
	if err := server.Client(t).Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, siteConfig{Store: fmt.Sprintf(`redis %s/3 {
			ca_file %s
			cert_file %s
			key_file %s
			prefix bank:
		}`, strings.Replace(server.URL, "://", "://stepup:password@", 1), certs.CAFile, certs.CertFile, certs.KeyFile)})
	c := s.crowd(t, 2)
	s.broker.approveWaiting(t)
	c.finish()
	if y := s.check(t, 0); y.passed != y.acts {
		t.Errorf("%v, want all to pass", y)
	}
}
