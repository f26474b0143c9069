//! Engines behind a router, stepped on whatever clock the caller has.
