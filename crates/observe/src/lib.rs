//! Samples of the world: OpenMetrics, processes, the host; from them signals and series.
