//! Agents: tool loops with growing context, and sub-agents.
//!
//! An agent sends its whole context, the model answers with a tool call, the tool's result is
//! appended, and so on until the final answer. With sub-agents, the parent's first turn writes the
//! delegation. The sub-agents, each with its own task after the shared system prompt, run side by
//! side. Their final answers are appended to the parent's context, which is then due.

use weir_model::{ContentId, Nanos, Piece, Tokens};

use super::context::{Context, PrivateContents};
use crate::config::{Agentic, Length, WorkloadConfig};
use crate::error::WorkloadError;
use crate::session::{Session, SessionSource, Turn};
use crate::stream::RandomStream;

#[derive(Debug, Clone)]
pub struct AgenticSource {
    config: Agentic,
    seed: u64,
    next: u64,
}

impl AgenticSource {
    pub fn new(config: Agentic, seed: u64) -> Result<Self, WorkloadError> {
        WorkloadConfig::Agentic(config.clone()).validate()?;
        Ok(Self { config, seed, next: 0 })
    }

    /// `seen_tokens` is as if no other session had been requested before.
    pub fn session_at(&self, index: u64) -> Session {
        let mut task = Task {
            config: &self.config,
            system: ContentId::derive(self.seed, "agentic system", 0),
            stream: RandomStream::new(self.seed, "agentic session", index),
            contents: PrivateContents::new(self.seed, "agentic private", index),
            turns: Vec::new(),
        };
        task.run();
        Session { id: index, start: None, turns: task.turns }
    }
}

impl SessionSource for AgenticSource {
    fn next_session(&mut self) -> Option<Session> {
        let mut session = self.session_at(self.next);
        if self.next > 0 {
            session.turns[0].seen_tokens = Tokens(self.config.system_tokens);
        }
        self.next += 1;
        Some(session)
    }
}

struct Task<'a> {
    config: &'a Agentic,
    system: ContentId,
    stream: RandomStream,
    contents: PrivateContents,
    turns: Vec<Turn>,
}

impl Task<'_> {
    fn run(&mut self) {
        let mut parent = self.agent(0);
        let mut after = Vec::new();
        if self.config.sub_agents > 0 {
            let delegation = self.answer(self.config.call_tokens);
            let spawned = self.push(parent.ask(delegation, Vec::new(), Nanos::ZERO));
            for _ in 0..self.config.sub_agents {
                let mut sub_agent = self.agent(self.config.system_tokens);
                let calls = self.config.sub_agent_calls;
                let (last, answer) = self.tool_loop(&mut sub_agent, calls, vec![spawned]);
                parent.append(answer);
                after.push(last);
            }
        }
        self.tool_loop(&mut parent, self.config.tool_calls, after);
    }

    /// `seen` of the system prompt's tokens were requested before.
    fn agent(&mut self, seen: u32) -> Context {
        let system = Piece::new(self.system, self.config.system_tokens);
        let task = self.answer(self.config.task_tokens);
        Context::new(vec![system, task], seen)
    }

    fn answer(&mut self, length: Length) -> Piece {
        let tokens = length.draw(&mut self.stream);
        self.contents.piece(tokens)
    }

    /// Calls tools and then answers. The first turn waits for `after`. Returns the last turn and
    /// its answer.
    fn tool_loop(&mut self, agent: &mut Context, calls: Length, after: Vec<u32>) -> (u32, Piece) {
        let mut after = after;
        let mut think = Nanos::ZERO;
        for _ in 0..calls.draw(&mut self.stream) {
            let call = self.answer(self.config.call_tokens);
            let turn = self.push(agent.ask(call, after, think));
            let result = self.answer(self.config.result_tokens);
            agent.append(result);
            after = vec![turn];
            think = self.config.tool_time;
        }
        let answer = self.answer(self.config.answer_tokens);
        let last = self.push(agent.ask(answer, after, think));
        (last, answer)
    }

    fn push(&mut self, turn: Turn) -> u32 {
        self.turns.push(turn);
        self.turns.len() as u32 - 1
    }
}
