package caddymodule

// Held is how many requests are held.
func Held() int64 { return inUse.held.Load() }
