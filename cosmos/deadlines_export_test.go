package cosmos

// AskAlways has each Claim ask all partitions, and give way to no other process,
// so that the claims of all processes are equal.
func (d *Deadlines) AskAlways() *Deadlines {
	d.refresh = -1
	return d
}
