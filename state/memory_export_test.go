package state

// Len returns how many items m holds, expired or not, and how many of them
// wait for their expiry.
func (m *Memory) Len() (items, expiring int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items), len(m.expiry)
}
