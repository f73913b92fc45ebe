package transformer

// Hops returns how many hops are kept.
func Hops(d *DaemonSet) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.hops)
}
