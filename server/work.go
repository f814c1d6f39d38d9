package server

// registerWork says who does which jobs, and what is done again and again. What jobs do is in the services.
func (p *parts) registerWork() {
	p.work.Daily("rooms.clean_up", p.config.Keep.CleanUpAt, p.rooms.CleanUp)
}
