//! What the team's next `docker compose up` will do after the swap, so that it is said before anyone approves
//! (decisions 22 and 23). Pure.
//!
//! Compose recreates a container when the hash of its settings or the id of its image is not what the labels say. With
//! the labels recorded when the image last ran and the pin at the recorded reference it finds nothing to do; each reason
//! why one of the two cannot be had costs one recreate, to the same image.

use crate::agent::{ComposeMark, PinFacts, StoreKind};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::release::Handles;
use crate::domain::text::visible;

/// What a pin's key holds, and so what is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinForm {
    /// A whole reference: `image: ${API_IMAGE}`.
    Reference,
    /// The tag alone: `image: shop/api:${API_TAG}`.
    Tag,
    /// A whole reference, but not the one that runs.
    Elsewhere,
    /// A word that is neither the reference nor the tag of what runs: nobody can say what belongs there.
    Unknown,
}

/// What the key holds, judged by the references of what runs and of the target. `mac` is the agent's, as values never
/// leave it.
pub fn pin_form(pin: &PinFacts, running: &str, target: &str, mac: impl Fn(&str) -> String) -> PinForm {
    let Some(held) = &pin.value else { return PinForm::Reference };
    let holds = |word: &str| !word.is_empty() && mac(word) == *held;
    if holds(running) || holds(target) {
        return PinForm::Reference;
    }
    if [running, target].into_iter().filter_map(name_and_tag).any(|(_, tag)| holds(tag)) {
        return PinForm::Tag;
    }
    if pin.word { PinForm::Unknown } else { PinForm::Elsewhere }
}

/// What is written as pin: the recorded reference (or its tag) while it means this image, else something that cannot
/// move.
///
/// # Errors
/// A sentence for the card: why nothing right can be written there, and what to do.
pub fn pin_value(
    form: PinForm,
    key: &str,
    image: &Handles,
    tag_holds: bool,
    store: StoreKind,
    running: &str,
    of: (&ProjectName, &ServiceName),
) -> Result<String, String> {
    let whole = "write a whole reference there (`image: ${…}`, nothing before it) to roll back to it";
    match form {
        PinForm::Reference | PinForm::Elsewhere if tag_holds => Ok(image.reference.clone()),
        PinForm::Reference | PinForm::Elsewhere => Ok(match (store, image.digests.first()) {
            (StoreKind::GraphDriver, Some(digest)) => digest.clone(),
            // In containerd's store a digest goes with the last name of its repository that means it: compose would then
            // look for it elsewhere.
            _ => crate::agent::keep::pin_reference(of.0, of.1, image),
        }),
        PinForm::Tag => match (name_and_tag(&image.reference), name_and_tag(running)) {
            (Some((name, tag)), Some((own, _))) if tag_holds && name == own => Ok(tag.to_owned()),
            (Some((name, _)), Some((own, _))) if name != own => Err(format!(
                "{key} holds only a tag of {}, and the target is of {}: {whole}",
                visible(own),
                visible(name)
            )),
            _ => Err(format!(
                "{key} holds only a tag, and {} no longer means that image: {whole}",
                visible(&image.reference)
            )),
        },
        PinForm::Unknown => Err(format!(
            "{key} holds neither the image that runs nor its tag, so nobody can say what belongs there: {whole}, or take \
             the pin out of the config"
        )),
    }
}

/// What is known about the labels that the new container will have.
#[derive(Debug, Clone, Copy)]
pub struct Foreseen<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// What compose left on the container recorded with the target; `None` when there is no such record.
    pub recorded: Option<&'a ComposeMark>,
    /// What it left on the container that runs.
    pub present: Option<&'a ComposeMark>,
    /// Whether the settings recorded with the target are today's.
    pub settings_equal: bool,
    /// Whether the pin says what the record says.
    pub reference_kept: bool,
    /// The target's id here and now.
    pub image: &'a str,
}

/// The sentence for the card when one recreate is unavoidable; `None` when the next `up` will find nothing to do.
pub fn recreated_once(foreseen: &Foreseen<'_>) -> Option<String> {
    let service = foreseen.service;
    let why = match (foreseen.recorded, foreseen.present) {
        (None, _) => "how compose made it with that image is not on record".to_owned(),
        (Some(mark), _) if !mark.hashed => "how compose made it with that image is not on record".to_owned(),
        (Some(then), Some(now)) if then.version != now.version => {
            format!("compose was {} then and is {} now", visible(&then.version), visible(&now.version))
        }
        _ if !foreseen.settings_equal => "its settings have changed since that image ran".to_owned(),
        _ if !foreseen.reference_kept => "the pin names that image otherwise than before".to_owned(),
        (Some(then), Some(now)) if then.alone && !now.alone && counts_dependencies(&then.version) => {
            "it was brought up with `--no-deps` then".to_owned()
        }
        // Compose 1 counts the image's id among the settings.
        (Some(then), _) if then.version.starts_with("1.") && then.image != foreseen.image => {
            "that image has another id now".to_owned()
        }
        _ => return None,
    };
    let said = format!("the next `up` recreates {service} once, to the same image: {why}");
    let present = foreseen.present.or(foreseen.recorded);
    let more = present.is_some_and(|mark| takes_dependents_along(&mark.version));
    Some(if more { format!("{said}; this Compose may recreate what depends on {service} with it") } else { said })
}

/// Compose 2.26.0 to 2.29.2 count `depends_on` among the settings, and take it away for `--no-deps` (docker/compose
/// issue 12069, mended by its pull request 12072). Below 2.26 it is not known: said once too often rather than not at all.
fn counts_dependencies(version: &str) -> bool {
    ((2, 0, 0)..(2, 29, 3)).contains(&numbers(version))
}

/// Whether Compose recreates those who depend on a service when it recreates that service (docker/compose issue 10308).
/// Tried: 2.26.1 does, 1.29.2 and 2.40.3 do not. In between it is not known: said once too often rather than not at all.
fn takes_dependents_along(version: &str) -> bool {
    ((2, 0, 0)..(2, 40, 0)).contains(&numbers(version))
}

/// `2.26.1-4` as numbers; what is not there counts as 0.
fn numbers(version: &str) -> (u32, u32, u32) {
    let number = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0u32);
    let mut parts = version.split('.').map(number);
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The sentence for the card when others read the same pin.
pub fn shared(key: &str, others: &[ServiceName]) -> Option<String> {
    let names: Vec<&str> = others.iter().map(ServiceName::as_str).collect();
    (!names.is_empty())
        .then(|| format!("{key} is the pin of {} too: the next `up` takes it to this image", names.join(" and ")))
}

/// `shop/api:1.4` as `shop/api` and `1.4`; `None` without a tag.
fn name_and_tag(reference: &str) -> Option<(&str, &str)> {
    let (name, tag) = reference.rsplit_once(':')?;
    (!name.is_empty() && !tag.is_empty() && !tag.contains('/') && !reference.contains('@') && name != "sha256")
        .then_some((name, tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::Fingerprint;

    fn held(value: &str) -> PinFacts {
        PinFacts {
            value: Some(format!("mac {value}")),
            obstacle: None,
            word: !value.is_empty() && !value.contains(['/', ':', '@']),
        }
    }

    fn form(value: &str) -> PinForm {
        pin_form(&held(value), "reg:5000/shop/api:1.1", "reg:5000/shop/api:1.0", |v| format!("mac {v}"))
    }

    fn image(reference: &str) -> Handles {
        Handles {
            fingerprint: Fingerprint::parse(&"ab".repeat(32)).unwrap(),
            image: "sha256:aa".to_owned(),
            reference: reference.to_owned(),
            digests: vec!["reg:5000/shop/api@sha256:dd".to_owned()],
        }
    }

    fn value(form: PinForm, target: &str, tag_holds: bool, store: StoreKind) -> Result<String, String> {
        let of = (&ProjectName::parse("shop").unwrap(), &ServiceName::parse("api").unwrap());
        pin_value(form, "API", &image(target), tag_holds, store, "reg:5000/shop/api:1.1", of)
    }

    #[test]
    fn what_a_key_holds_is_told_by_what_runs() {
        for (value, wanted) in [
            ("reg:5000/shop/api:1.1", PinForm::Reference),
            ("reg:5000/shop/api:1.0", PinForm::Reference),
            ("1.1", PinForm::Tag),
            ("1.0", PinForm::Tag),
            ("reg:5000/shop/api:1.2", PinForm::Elsewhere),
            ("", PinForm::Elsewhere),
            ("1.2", PinForm::Unknown),
            ("api", PinForm::Unknown),
        ] {
            assert_eq!(form(value), wanted, "{value}");
        }
        let absent = PinFacts { value: None, obstacle: None, word: false };
        assert_eq!(pin_form(&absent, "a:1", "a:2", str::to_owned), PinForm::Reference);
    }

    #[test]
    fn a_key_gets_what_it_held_before_in_kind() {
        use StoreKind::{Containerd, GraphDriver};
        let (old, moved) = ("reg:5000/shop/api:1.0", "io.sternway/pin/shop-api:abababababab");
        assert_eq!(value(PinForm::Reference, old, true, GraphDriver).unwrap(), old);
        assert_eq!(value(PinForm::Reference, old, false, GraphDriver).unwrap(), "reg:5000/shop/api@sha256:dd");
        assert_eq!(value(PinForm::Reference, old, false, Containerd).unwrap(), moved);
        assert_eq!(value(PinForm::Tag, old, true, GraphDriver).unwrap(), "1.0");
        for (form, target, holds, says) in [
            (PinForm::Tag, old, false, "no longer means"),
            (PinForm::Tag, "other/api:1.0", true, "of other/api"),
            (PinForm::Tag, "sha256:aa", true, "no longer means"),
            (PinForm::Unknown, old, true, "neither the image"),
        ] {
            let why = value(form, target, holds, GraphDriver).unwrap_err();
            assert!(why.contains(says) && why.contains("whole reference"), "{why}");
        }
    }

    #[test]
    fn a_recreate_that_cannot_be_avoided_is_told_with_its_reason() {
        let service = ServiceName::parse("api").unwrap();
        let mark = |version: &str| ComposeMark {
            version: version.to_owned(),
            hashed: true,
            image: "sha256:aa".to_owned(),
            alone: false,
        };
        let alone = |version: &str| ComposeMark { alone: true, ..mark(version) };
        let (early, late, now) = (alone("2.26.1-4"), alone("2.40.3-3"), mark("2.40.3-3"));
        let (v1, v2, unhashed) = (mark("1.29.2"), mark("2.26.1"), ComposeMark { hashed: false, ..mark("2.26.1") });
        let known = Foreseen {
            service: &service,
            recorded: Some(&v2),
            present: Some(&v2),
            settings_equal: true,
            reference_kept: true,
            image: "sha256:aa",
        };
        assert_eq!(recreated_once(&known), None);
        assert_eq!(recreated_once(&Foreseen { image: "sha256:bb", ..known }), None, "compose 2 hears of it by label");
        assert_eq!(recreated_once(&Foreseen { recorded: Some(&late), present: Some(&now), ..known }), None);
        let same = mark("2.26.1-4");
        for (foreseen, says) in [
            (Foreseen { recorded: Some(&early), present: Some(&same), ..known }, "--no-deps"),
            (Foreseen { recorded: None, ..known }, "not on record"),
            (Foreseen { recorded: Some(&unhashed), ..known }, "not on record"),
            (Foreseen { settings_equal: false, ..known }, "settings have changed"),
            (Foreseen { reference_kept: false, ..known }, "otherwise than before"),
            (Foreseen { recorded: Some(&v1), ..known }, "1.29.2 then and is 2.26.1 now"),
            (Foreseen { recorded: Some(&v1), present: Some(&v1), image: "sha256:bb", ..known }, "another id"),
        ] {
            let said = recreated_once(&foreseen).unwrap();
            assert!(said.contains(says) && said.contains("once, to the same image"), "{said}");
            let along = foreseen.present.is_some_and(|now| now.version.starts_with("2.26"));
            assert_eq!(said.contains("recreate what depends on api with it"), along, "{said}");
        }
    }
}
