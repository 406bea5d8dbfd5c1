//! Containers beside us that change others by themselves. They are recognised by image and label, told on the card,
//! and left alone.

use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
use super::{ContainerState, Meddler, Meddling, raw};
use crate::domain::names::ServiceName;

/// Watchtower's own image carries this label with `true`.
const WATCHTOWER: &str = "com.centurylinklabs.watchtower";
/// `false` on a container: watchtower leaves it alone. With its `--label-enable` only `true` is touched.
const WATCHTOWER_ENABLE: &str = "com.centurylinklabs.watchtower.enable";
/// What people call such containers when they run outside the project and carry no label to find them by.
const USUAL_NAMES: [&str; 2] = ["watchtower", "autoheal"];

impl<E: Engine> HostAgent<E> {
    /// Those of the project, and those elsewhere on the host that can be found by label or by their usual name.
    pub(super) async fn meddlers(&self, project: &[Value]) -> Result<Vec<Meddler>, EngineError> {
        let mut seen: Vec<Value> = project.to_vec();
        let mut handles = self.engine.labelled(WATCHTOWER, "true").await?;
        handles.extend(USUAL_NAMES.map(str::to_owned));
        for handle in handles {
            let known = seen.iter().any(|c| raw::id(c) == handle || raw::name(c) == handle);
            if !known {
                seen.extend(self.engine.inspect(&handle).await?);
            }
        }
        Ok(seen.iter().filter_map(|c| meddler(c, project)).collect())
    }
}

fn meddler(container: &Value, project: &[Value]) -> Option<Meddler> {
    if raw::state(container) != ContainerState::Running {
        return None;
    }
    let program = raw::reference(container).rsplit('/').next()?.split(['@', ':']).next()?;
    let does = match program {
        "watchtower" | "ouroboros" => Meddling::Updates,
        "autoheal" | "docker-autoheal" => Meddling::Restarts,
        _ if raw::label(container, WATCHTOWER) == Some("true") => Meddling::Updates,
        _ => return None,
    };
    let spared = |c: &&Value| match does {
        Meddling::Updates => {
            let asked_only = raw::env(container, "WATCHTOWER_LABEL_ENABLE") == Some("true")
                || raw::arguments(container).any(|a| a == "--label-enable");
            match raw::label(c, WATCHTOWER_ENABLE) {
                Some("false") => true,
                Some("true") => false,
                _ => asked_only,
            }
        }
        Meddling::Restarts => match raw::env(container, "AUTOHEAL_CONTAINER_LABEL").unwrap_or("autoheal") {
            "all" => false,
            label => raw::label(c, label) != Some("true"),
        },
    };
    let mut spares: Vec<ServiceName> =
        project.iter().filter(spared).filter_map(|c| ServiceName::parse(raw::label(c, raw::SERVICE)?).ok()).collect();
    spares.sort();
    spares.dedup();
    Some(Meddler { name: raw::name(container).to_owned(), does, spares })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(name: &str, image: &str, labels: &Value, env: &[&str]) -> Value {
        json!({
            "Id": name, "Name": format!("/{name}"), "State": {"Status": "running"},
            "Config": {"Image": image, "Labels": labels, "Env": env}
        })
    }

    #[test]
    fn they_are_known_by_image_and_label_and_so_is_what_they_spare() {
        let api = container("shop-api-1", "shop/api:1", &json!({"com.docker.compose.service": "api"}), &[]);
        let healed = container(
            "shop-web-1",
            "shop/web:1",
            &json!({"com.docker.compose.service": "web", "autoheal": "true"}),
            &[],
        );
        let project = [api.clone(), healed];
        let spares = |m: Option<Meddler>| m.unwrap().spares.iter().map(ToString::to_string).collect::<Vec<_>>();
        let no = json!({});
        assert_eq!(meddler(&api, &project), None);
        let tower = container("w", "registry:5000/containrrr/watchtower:1.7", &no, &[]);
        assert_eq!(meddler(&tower, &project).unwrap().does, Meddling::Updates);
        assert_eq!(spares(meddler(&tower, &project)), Vec::<String>::new());
        let asked = container("w", "containrrr/watchtower", &no, &["WATCHTOWER_LABEL_ENABLE=true"]);
        assert_eq!(spares(meddler(&asked, &project)), ["api", "web"]);
        let built = container("w", "ours/updater", &json!({WATCHTOWER: "true"}), &[]);
        assert_eq!(meddler(&built, &project).unwrap().does, Meddling::Updates);
        let heal = container("h", "willfarrell/autoheal@sha256:00", &no, &[]);
        assert_eq!(spares(meddler(&heal, &project)), ["api"]);
        let all = container("h", "willfarrell/autoheal", &no, &["AUTOHEAL_CONTAINER_LABEL=all"]);
        assert_eq!(spares(meddler(&all, &project)), Vec::<String>::new());
    }
}
