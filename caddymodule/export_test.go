package caddymodule

// Held is how many requests are held, Bodies how many bytes of bodies are kept.
func Held() int64   { return inUse.held.now() }
func Bodies() int64 { return inUse.bodies.now() }

func (r *room) now() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}
