//! The kinds of service a swap must be proven for, and what stands beside the container in question.

use serde_json::{Value, json};
use sternway::domain::plan::ImageChoice;

use super::World;

/// What kind of service it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The new one beside the old one, behind a proxy; it publishes nothing and is asked by its own check.
    pub(crate) start_first: bool,
    /// It has three containers, and this is the number of the one that is swapped.
    pub(crate) number: Option<u32>,
}

impl Shape {
    /// Every kind that a swap must be proven for.
    pub(crate) const ALL: [Self; 4] = [
        Self { start_first: false, number: None },
        Self { start_first: false, number: Some(5) },
        Self { start_first: true, number: None },
        Self { start_first: true, number: Some(5) },
    ];
}

impl World {
    pub(crate) fn of(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// The name of one of the two networks: 0 is the service's own, 1 the one that it is on as well.
    pub(crate) fn network(&self, nth: usize) -> &str {
        &self.networks[nth]
    }

    /// Puts the copies and the proxy there that the shape has beside the container in question.
    pub(super) async fn neighbours(&self, image: &ImageChoice) {
        for number in [2, 7].into_iter().filter(|_| self.shape.number.is_some()) {
            let labels = json!({"com.docker.compose.container-number": number.to_string()});
            let mut body = self.body(image, &["MODE=today"], labels);
            body["HostConfig"].as_object_mut().unwrap().remove("PortBindings");
            let id = self.engine.create(&format!("{}-api-{number}", self.project), &body).await.unwrap();
            self.engine.start(&id).await.unwrap();
        }
        if self.shape.start_first {
            let mut body = self.body(image, &[], json!({"com.docker.compose.service": "web"}));
            body["HostConfig"].as_object_mut().unwrap().remove("PortBindings");
            // The proxy is on the second network only, so the new container can stay out of its sight until it is ready.
            body["HostConfig"]["NetworkMode"] = json!(self.networks[1]);
            body["NetworkingConfig"]["EndpointsConfig"] = json!({self.networks[1].as_str(): {"Aliases": ["web"]}});
            // The engine has to leave it running when it is told.
            body["Entrypoint"] = json!(["/program"]);
            body["Cmd"] = json!(["serve", "0", "-"]);
            let id = self.engine.create(&format!("{}-web-1", self.project), &body).await.unwrap();
            self.engine.start(&id).await.unwrap();
        }
    }

    /// Ids and states of everything beside the container in question: nobody may touch it.
    pub(crate) async fn beside(&self) -> Vec<String> {
        let mut all = Vec::new();
        for id in self.engine.project_containers(&self.project).await.unwrap() {
            let one = self.engine.inspect(&id).await.unwrap().unwrap();
            if !self.is_it(&one) {
                all.push(format!("{} {} {} {}", one["Name"], id, one["State"]["Status"], one["State"]["StartedAt"]));
            }
        }
        all.sort();
        all
    }

    pub(super) fn is_it(&self, one: &Value) -> bool {
        let label = |key: &str| one["Config"]["Labels"][format!("com.docker.compose.{key}")].clone();
        label("service") != "web" && label("container-number").as_str() == Some(self.number().to_string().as_str())
    }
}
