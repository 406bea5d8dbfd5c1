//! The forms that projects come in. In each text `{id}` is the test's id, `{project}` the project and `{api}` the
//! repository of the service's image.

/// One form.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// Files beneath the test's folder.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Arguments before the verb.
    pub(crate) arguments: &'static [&'static str],
    /// The project's folder as the config names it, beneath the test's folder.
    pub(crate) dir: &'static str,
    /// Pin file beneath that folder, and its key.
    pub(crate) pin: (&'static str, &'static str),
    /// Whether the project's name stands in that file.
    pub(crate) named_in_env: bool,
}

const BACK: &str = "
networks: {default: {labels: {io.sternway.test: '{id}'}}}
";

const DB: &str = "
  db: {image: '{db}', restart: unless-stopped}
";

/// One file, the image and the project's name from `.env`: as most are.
pub(crate) const ENV: Form = Form {
    name: ".env",
    files: &[(
        "compose.yml",
        "services:
  api:
    image: ${API_IMAGE}
    depends_on: [db]
    ports: ['127.0.0.1:${API_PORT}:8080']
    environment: {MODE: today}
    restart: unless-stopped
DBBACK",
    )],
    arguments: &[],
    dir: "",
    pin: (".env", "API_IMAGE"),
    named_in_env: true,
};

/// A base file, and one beside it that compose takes by itself.
pub(crate) const OVERRIDE: Form = Form {
    name: "override file",
    files: &[
        (
            "docker-compose.yml",
            "services:
  api:
    image: ${API_IMAGE}
    depends_on: [db]
    environment: {MODE: base, KEPT: base}
DBBACK",
        ),
        (
            "docker-compose.override.yml",
            "services:
  api:
    ports: ['127.0.0.1:${API_PORT}:8080']
    environment: {MODE: today}
    labels: {team: shop}
    restart: always
",
        ),
    ],
    ..ENV
};

/// The project's name on the command line.
pub(crate) const NAMED: Form = Form { name: "-p", arguments: &["-p", "{project}"], named_in_env: false, ..ENV };

/// Two files in a folder below, and variables in a file of another name.
pub(crate) const ELSEWHERE: Form = Form {
    name: "-f elsewhere",
    files: &[
        (
            "deploy/stack.yml",
            "services:
  api:
    image: ${API_IMAGE}
    depends_on: [db]
    env_file: [api.env]
    restart: on-failure
DBBACK",
        ),
        ("deploy/more.yml", "services: {api: {ports: ['127.0.0.1:${API_PORT}:8080'], environment: {MODE: today}}}\n"),
        ("deploy/api.env", "FROM_FILE=yes\n"),
    ],
    arguments: &[
        "-p",
        "{project}",
        "-f",
        "deploy/stack.yml",
        "-f",
        "deploy/more.yml",
        "--env-file",
        "deploy/production.env",
    ],
    dir: "deploy",
    pin: ("production.env", "API_IMAGE"),
    named_in_env: false,
};

/// Anchors and merge keys.
pub(crate) const ANCHORS: Form = Form {
    name: "anchors",
    files: &[(
        "compose.yml",
        "x-env: &env {MODE: today, LEVEL: info}
x-service: &service
  restart: unless-stopped
  environment: *env
services:
  api:
    <<: *service
    image: ${API_IMAGE}
    depends_on: [db]
    environment: {<<: *env, LEVEL: debug}
    ports: ['127.0.0.1:${API_PORT}:8080']
DBBACK",
    )],
    ..ENV
};

/// Built on the host where it runs.
pub(crate) const BUILD: Form = Form {
    name: "build:",
    files: &[
        (
            "compose.yml",
            "services:
  api:
    build: ./api
    image: ${API_IMAGE}
    depends_on: [db]
    ports: ['127.0.0.1:${API_PORT}:8080']
    environment: {MODE: today}
DBBACK",
        ),
        ("api/Dockerfile", "FROM scratch\nCOPY nothing /nothing\n"),
    ],
    ..ENV
};

/// Only the tag is a variable.
pub(crate) const TAG: Form = Form {
    name: "tag alone",
    files: &[(
        "compose.yml",
        "services:
  api:
    image: {api}:${API_TAG}
    depends_on: [db]
    ports: ['127.0.0.1:${API_PORT}:8080']
DBBACK",
    )],
    pin: (".env", "API_TAG"),
    ..ENV
};

/// Every form.
pub(crate) const ALL: [&Form; 7] = [&ENV, &OVERRIDE, &NAMED, &ELSEWHERE, &ANCHORS, &BUILD, &TAG];

/// A file's text for one test.
pub(crate) fn text(template: &str, id: &str, project: &str, api: &str, db: &str) -> String {
    let whole = template.replace("DBBACK", &format!("{}{}", DB.trim_start_matches('\n'), BACK.trim_start()));
    whole.replace("{id}", id).replace("{project}", project).replace("{api}", api).replace("{db}", db)
}
