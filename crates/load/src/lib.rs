//! Generate and time requests over HTTP. Nothing but I/O on the timed path.
