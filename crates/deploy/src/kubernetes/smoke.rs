//! Whether each engine answers, and the router gives the same answer.

use serde_json::{Value, json};
use weir_http::{Fetch, Url, fetch};

use super::engine::PORT;
use super::names::Role;
use super::router::DOOR_PORT;
use super::stand::Stand;
use crate::error::DeployError;

const PATH: &str = "/v1/completions";
const PROMPT: &str = "The capital of France is";
const TOKENS: u32 = 8;

impl Stand<'_> {
    /// A line for each pod. An error where one does not answer, or says something else.
    pub fn smoke(&self) -> Result<Vec<String>, DeployError> {
        let of = self.pod_arm();
        let mut doors = vec![(Role::Engine, PORT)];
        if of.is_routed() {
            doors.push((Role::Router, DOOR_PORT));
        }
        let (mut lines, mut first) = (Vec::new(), None);
        for (role, port) in doors {
            let name = self.names.object(role);
            for pod in self.wait(&name, &|| false, &mut |_| {})? {
                let forward = self.cluster.forward(&pod.name, port)?;
                let url = Url::parse(&format!("http://{}", forward.address()))?;
                let text = self.answer(&url, &pod.name)?;
                let expected = first.get_or_insert_with(|| text.clone());
                if *expected != text {
                    return Err(DeployError::Answer {
                        url: pod.name,
                        problem: format!("it answers {text:?}, and the first engine {expected:?}"),
                        remedy: "compare their arguments and images: `weir status`".to_owned(),
                    });
                }
                lines.push(format!("{}: answers, as the first engine", pod.name));
            }
        }
        Ok(lines)
    }

    fn answer(&self, url: &Url, pod: &str) -> Result<String, DeployError> {
        let body = json!({
            "model": self.model(),
            "prompt": PROMPT,
            "max_tokens": TOKENS,
            "temperature": 0,
        });
        let body = body.to_string().into_bytes();
        let answer = fetch(&Fetch::post(url, PATH, "application/json", body))?.success()?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        said["choices"][0]["text"].as_str().map(str::to_owned).ok_or_else(|| DeployError::Answer {
            url: pod.to_owned(),
            problem: "its answer to a completion has no text".to_owned(),
            remedy: crate::endpoint::UNANSWERED.to_owned(),
        })
    }
}
