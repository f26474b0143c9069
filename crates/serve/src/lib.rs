//! The live driver of engine and router: an OpenAI-compatible server that looks like vLLM.
