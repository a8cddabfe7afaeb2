//! The alert rules and the dashboard speak of metrics that there are, and the rules fire when they should.
