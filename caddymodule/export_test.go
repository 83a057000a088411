package caddymodule

// Held is how many requests are held.
func Held() int64 {
	inUse.held.mu.Lock()
	defer inUse.held.mu.Unlock()
	return inUse.held.all
}
