//! The pin: the text of an `.env` file, and the path that leads to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use sternway::agent::pinfile;

use super::{assert_refusal, folder};

const KEY: &str = "API_IMAGE";
const NEW: &str = "shop/api:9.9";

/// One key is changed, the rest stays byte for byte, and putting the old value back gives the old bytes.
pub fn text(data: &[u8]) {
    thread_local! { static DIR: tempfile::TempDir = folder(); }
    DIR.with(|dir| {
        let file = dir.path().join(".env");
        fs::write(&file, data).unwrap();
        match pinfile::write(dir.path(), ".env", KEY, Some(NEW)) {
            Err(why) => {
                assert_refusal("a pin file", &why.to_string(), 1_024);
                assert_eq!(fs::read(&file).unwrap(), data, "refused, and changed all the same");
            }
            Ok(old) => {
                let now = fs::read(&file).unwrap();
                rest_is_the_same(data, &now, old.as_deref());
                assert_eq!(pinfile::read(dir.path(), ".env", KEY).unwrap().as_deref(), Some(NEW));
                assert_eq!(pinfile::write(dir.path(), ".env", KEY, old.as_deref()).unwrap().as_deref(), Some(NEW));
                assert_eq!(fs::read(&file).unwrap(), data, "put back, it is not what it was");
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left beside the file");
    });
}

fn rest_is_the_same(before: &[u8], after: &[u8], old: Option<&str>) {
    let same_begin = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let room = before.len().min(after.len()) - same_begin;
    let same_end = before.iter().rev().zip(after.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    let put_in = &after[same_begin..after.len() - same_end];
    let taken = &before[same_begin..before.len() - same_end];
    match old {
        Some(old) => {
            assert!(old.as_bytes().windows(taken.len().max(1)).any(|w| w == taken) || taken.is_empty(), "{taken:?}");
            assert!(put_in.len() <= NEW.len(), "{put_in:?}");
        }
        None => {
            assert!(taken.is_empty(), "{taken:?} was taken");
            assert!(put_in.len() <= KEY.len() + NEW.len() + 4, "{put_in:?}");
        }
    }
}

struct Project {
    root: tempfile::TempDir,
}

const OUTSIDE: &str = "API_IMAGE=outside/secret:1\n";
const INSIDE: &str = "API_IMAGE=inside/api:1\n";

impl Project {
    /// A project with every kind of way out of it.
    fn new() -> Self {
        let project = Self { root: folder() };
        let (inside, outside) = (project.inside(), project.outside());
        fs::create_dir_all(inside.join("sub/deep")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        symlink(&outside, inside.join("folder-out")).unwrap();
        symlink(outside.join(".env"), inside.join("file-out")).unwrap();
        symlink("../../outside/.env", inside.join("sub/relative-out")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        project.reset();
        fs::hard_link(outside.join("linked"), inside.join("hard-link")).unwrap();
        project
    }

    fn inside(&self) -> PathBuf {
        self.root.path().join("project")
    }

    fn outside(&self) -> PathBuf {
        self.root.path().join("outside")
    }

    fn reset(&self) {
        fs::write(self.inside().join(".env"), INSIDE).unwrap();
        fs::write(self.inside().join("sub/.env"), INSIDE).unwrap();
        fs::write(self.outside().join(".env"), OUTSIDE).unwrap();
        fs::write(self.outside().join("linked"), OUTSIDE).unwrap();
    }
}

/// Nothing outside of the project's folder is read or written, whatever the path says.
pub fn path(data: &[u8]) {
    thread_local! { static PROJECT: Project = Project::new(); }
    let path = String::from_utf8_lossy(data);
    PROJECT.with(|project| {
        // `@` stands for the absolute path of the place outside.
        let path = path.replace('@', &project.outside().display().to_string());
        let inside = project.inside();
        let read = pinfile::read(&inside, &path, KEY);
        if let Ok(Some(value)) = &read {
            assert!(value.starts_with("inside/"), "{path:?} led to {value}");
        }
        assert!(!pinfile::text(&inside, &path).is_some_and(|t| t.contains("outside")), "{path:?} was read outside");
        match pinfile::write(&inside, &path, KEY, Some(NEW)) {
            Ok(_) => project.reset(),
            // A path is the config's own word, and it is quoted whole.
            Err(why) => assert!(!why.to_string().is_empty()),
        }
        for name in [".env", "linked"] {
            assert_eq!(fs::read_to_string(project.outside().join(name)).unwrap(), OUTSIDE, "{path:?} wrote outside");
        }
        assert_eq!(fs::read_dir(project.outside()).unwrap().count(), 2, "{path:?} made a file outside");
    });
}
