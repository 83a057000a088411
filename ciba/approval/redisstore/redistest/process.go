package redistest

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// process is a redis-server that runs, or has ended.
type process struct {
	cmd    *exec.Cmd
	output strings.Builder // to be read when it has ended
	done   chan struct{}
	paused bool
}

// run starts a process, which ends with the test.
func run(t testing.TB, binary string, args []string) (*process, error) {
	p := &process{cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.Stop)
	return p, nil
}

// Stop ends the server at once, as a crash would. It may be called twice; the
// end of the test calls it in any case.
func (p *process) Stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Pause stops the server in its tracks: connections stay, and are made, but
// nothing answers. [Server.Stop] and the end of the test work all the same.
func (p *process) Pause(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	p.paused = true
}

// Resume lets a paused server go on.
func (p *process) Resume(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGCONT)
	p.paused = false
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("sending %v to redis-server: %v", s, err)
	}
}

// ended tells whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
