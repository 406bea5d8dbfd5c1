//! Image repositories: which images may be run besides the releases on record (decision 20).

use super::reader::from_text;

/// An image repository without tag or digest, such as `ghcr.io/shop/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository(String);

impl Repository {
    /// Checks and takes the text; Docker Hub's long forms become the short ones.
    ///
    /// # Errors
    /// A sentence saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let short = short_form(text);
        if short.contains('@') || repository_of(text) != short {
            return Err(format!(
                "“{text}” has a tag or digest: the repository alone is wanted, such as ghcr.io/shop/api"
            ));
        }
        let part = |p: &str| {
            p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        };
        let registry = |p: &str| {
            p.starts_with(|c: char| c.is_ascii_alphanumeric())
                && p.chars().all(|c| c.is_ascii_alphanumeric() || "._-:".contains(c))
        };
        let mut parts = short.split('/');
        let first = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        let well = (part(first) || (!rest.is_empty() && registry(first))) && rest.iter().all(|p| part(p));
        if well {
            Ok(Self(short.to_owned()))
        } else {
            Err(format!("“{text}” is no image repository, such as ghcr.io/shop/api"))
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn short_form(text: &str) -> &str {
    let text = text.strip_prefix("docker.io/").unwrap_or(text);
    text.strip_prefix("library/").unwrap_or(text)
}

/// The repository of an image reference: what is left without digest and tag, in Docker Hub's short form.
pub fn repository_of(reference: &str) -> &str {
    let named = reference.split('@').next().unwrap_or_default();
    let slash = named.rfind('/').map_or(0, |i| i + 1);
    let repository = named[slash..].find(':').map_or(named, |colon| &named[..slash + colon]);
    short_form(repository)
}

from_text! {
    Repository, Repository::parse, "an image repository such as \"ghcr.io/shop/api\"";
}

#[cfg(test)]
mod tests {
    use super::super::service::Service;
    use super::*;

    #[test]
    fn a_repository_is_compared_without_tag_digest_and_docker_hubs_long_forms() {
        for (reference, repository) in [
            ("ghcr.io/shop/api:1.4", "ghcr.io/shop/api"),
            ("localhost:5000/api", "localhost:5000/api"),
            ("localhost:5000/api:1@sha256:00", "localhost:5000/api"),
            ("nginx:1.27", "nginx"),
            ("docker.io/library/nginx", "nginx"),
            ("docker.io/shop/api:1", "shop/api"),
        ] {
            assert_eq!(repository_of(reference), repository, "{reference}");
        }
        let service =
            Service { repositories: vec![Repository::parse("ghcr.io/shop/api").unwrap()], ..Service::default() };
        assert!(service.allows("ghcr.io/shop/api:2"));
        for other in ["ghcr.io/shop/api2:2", "evil.io/shop/api", "ghcr.io/shop/api/x", "api", ""] {
            assert!(!service.allows(other), "{other}");
        }
        for bad in ["", "a:1", "a@sha256:00", "A", "a//b", "-a", "a b", "http://a/b", "../a", "a/B"] {
            assert!(Repository::parse(bad).is_err(), "{bad:?}");
        }
    }
}
