//! From files to objects, with the real kustomize in the real jail.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_source::render::{Mode, Render, RenderError, RenderLimits, Renderer};
use sluice_source::tree::{SourceTree, TreeLimits};
use support::kustomize::renderer;

fn tree(files: &[(&str, &str)]) -> SourceTree {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    SourceTree::from_directory(dir.path(), "app", Mode::Auto, &TreeLimits::default()).unwrap()
}

fn render_with(renderer: &Renderer, files: &[(&str, &str)]) -> Result<Render, RenderError> {
    let result = renderer.render(&tree(files));
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(
            text.len() <= 1024 && !text.contains("/tmp") && !text.contains("sluice-render") && !text.contains("hunter2"),
            "{text}"
        );
    }
    result
}

fn render(files: &[(&str, &str)]) -> Result<Render, RenderError> {
    render_with(&renderer(), files)
}

fn reason(files: &[(&str, &str)]) -> &'static str {
    render(files).map(|render| render.objects).unwrap_err().reason()
}

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web:1}]}
";

#[test]
fn plain_manifests_are_rendered_sorted_and_the_same_each_time() {
    let files = [
        ("app/z.yaml", DEPLOYMENT),
        ("app/a.yaml", &*format!("{}---\n{}", config_map("b"), config_map("a"))),
        ("app/sub/c.json", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"}}"#),
    ];
    let first = render(&files).unwrap();
    let names: Vec<_> = first
        .objects
        .iter()
        .map(|object| format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(names, ["ConfigMap/a", "ConfigMap/b", "Service/s", "Deployment/web"]);
    assert_eq!(first, render(&files).unwrap());
}

#[test]
fn an_overlay_with_a_strategic_merge_patch_renders_within_the_jails_limits() {
    let files = [
        (
            "app/kustomization.yaml",
            "resources: [../base]\nnamespace: shop\nimages: [{name: web, newTag: '2'}]\npatches: [{path: p.yaml}]\nconfigMapGenerator: [{name: c, literals: [k=v]}]",
        ),
        ("app/p.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}"),
        ("base/kustomization.yaml", "resources: [d.yaml]"),
        ("base/d.yaml", DEPLOYMENT),
    ];
    let objects = render(&files).unwrap().objects;
    assert_eq!(objects.len(), 2);
    let deployment = &objects[1];
    assert_eq!(deployment["spec"]["replicas"], json!(3));
    assert_eq!(deployment["metadata"]["namespace"], json!("shop"));
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], json!("web:2"));
    assert!(objects[0]["metadata"]["name"].as_str().unwrap().starts_with("c-"));
}

#[test]
fn values_have_the_types_kustomize_gives_them() {
    let text = "apiVersion: v1\nkind: X\nmetadata: {name: x}\nspec:\n  octal: 0644\n  yes: yes\n  off: off\n  quoted: \"no\"\n  date: 2024-01-01\n  clock: 12:30:45\n  \
                float: 1e3\n  hex: 0x1F\n  bool: true\n  text: |\n    a\n    b\n  long: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa \
                aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  two  blanks\"\n";
    let objects = render(&[("app/x.yaml", text)]).unwrap().objects;
    let spec = &objects[0]["spec"];
    for (key, expected) in [
        ("octal", json!(420)),
        ("yes", json!("yes")),
        ("off", json!("off")),
        ("quoted", json!("no")),
        ("date", json!("2024-01-01T00:00:00Z")),
        ("clock", json!("12:30:45")),
        ("float", json!(1000)),
        ("hex", json!(31)),
        ("bool", json!(true)),
        ("text", json!("a\nb\n")),
    ] {
        let got = &spec[key];
        assert!(*got == expected || got.as_f64().is_some() && got.as_f64() == expected.as_f64(), "{key}: {got}");
    }
    assert!(spec["long"].as_str().unwrap().ends_with("two  blanks"));
}

#[test]
fn directories_with_kustomizations_below_a_plain_path_are_rendered_by_them() {
    let files = [
        ("app/a.yaml", &*config_map("a")),
        ("app/team/kustomization.yaml", "namePrefix: team-\nresources: [b.yaml]"),
        ("app/team/b.yaml", &*config_map("b")),
    ];
    let objects = render(&files).unwrap().objects;
    let names: Vec<_> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "team-b"]);
}

#[test]
fn one_object_in_two_documents_is_refused_with_both_files() {
    let two = [("app/a.yaml", &*config_map("same")), ("app/b.yaml", &*config_map("same"))];
    let error = render(&two).unwrap_err();
    assert_eq!(error.reason(), "DuplicateObject");
    let text = error.to_string();
    assert!(text.contains("ConfigMap same") && text.contains("app/a.yaml") && text.contains("app/b.yaml"), "{text}");
    // two versions are one object, which kustomize does not see
    let versions = ["v1", "v1beta1"]
        .map(|version| format!("apiVersion: apps/{version}\nkind: Deployment\nmetadata: {{name: web}}\n"))
        .join("---\n");
    assert_eq!(reason(&[("app/a.yaml", &versions)]), "DuplicateObject");
}

#[test]
fn a_duplicate_across_two_slices_is_found_as_well() {
    let mut renderer = renderer();
    renderer.limits.slice_documents = 1;
    let error = render_with(
        &renderer,
        &[("app/a.yaml", &config_map("same")), ("app/b.yaml", &config_map("x")), ("app/c.yaml", &config_map("same"))],
    )
    .unwrap_err();
    assert_eq!(error.reason(), "DuplicateObject");
    let text = error.to_string();
    assert!(text.contains("app/a.yaml") && text.contains("app/c.yaml"), "{text}");
    let sliced = render_with(&renderer, &[("app/a.yaml", &config_map("a")), ("app/b.yaml", &config_map("b"))]).unwrap();
    assert_eq!(sliced.objects.len(), 2);
}

#[test]
fn bad_yaml_is_refused_with_file_and_line() {
    for (text, expected, line) in [
        ("a: 1\nb: [\n", "YamlInvalid", ""),
        ("a: 1\n  b: 2\n", "YamlInvalid", ":2"),
        ("a: 1\nb: 2\na: hunter2\n", "DuplicateKey", ":3"),
        ("a: {x: 1, y: 2, x: 3}\n", "DuplicateKey", ":1"),
        ("a: !!python/object:os.system x\n", "TagRefused", ":1"),
        ("a: !vault hunter2\n", "TagRefused", ":1"),
        ("a: *nope\n", "YamlInvalid", ":1"),
        ("name: {{ .Values.hunter2 }}\n", "YamlInvalid", ":1"),
        ("{{- if .Values.x }}\na: 1\n{{- end }}\n", "YamlInvalid", ":1"),
        ("a:\n\t- b\n", "YamlInvalid", ":2"),
    ] {
        let error = render(&[("app/good.yaml", &config_map("a")), ("app/bad.yaml", text)]).unwrap_err();
        assert_eq!(error.reason(), expected, "{text} {error}");
        assert!(error.to_string().contains(&format!("app/bad.yaml{line}")), "{error}");
    }
}

#[test]
fn bombs_are_refused_before_anything_expands_them() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    let scalar = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1000].join(", "));
    let merges = format!(
        "base: &b {{{}}}\n{}",
        (0..500).map(|n| format!("k{n}: v")).collect::<Vec<_>>().join(", "),
        (0..5000).map(|n| format!("m{n}: {{<<: *b}}\n")).collect::<String>()
    );
    let deep_flow = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let long = format!("a: {}\n", "x".repeat((1 << 20) + 1));
    let documents = "---\na: 1\n".repeat(10_001);
    for (name, text, expected) in [
        ("laughs", laughs.as_str(), "AliasExpansion"),
        ("scalar", &scalar, "AliasExpansion"),
        ("merges", &merges, "AliasExpansion"),
        ("self", "a: &a [*a]\n", "AliasExpansion"),
        ("self by a mapping", "a: &a {b: {c: *a}}\n", "AliasExpansion"),
        ("deep flow", &deep_flow, "TooLarge"),
        ("deep block", &deep_block, "TooLarge"),
        ("long", &long, "TooLarge"),
        ("documents", &documents, "TooLarge"),
    ] {
        let tree = tree(&[("app/bomb.yaml", text)]);
        let start = Instant::now();
        let error = renderer().render(&tree).unwrap_err();
        let took = start.elapsed();
        assert_eq!(error.reason(), expected, "{name}: {error}");
        assert!(error.to_string().contains("app/bomb.yaml:"), "{error}");
        // a debug build on a busy machine; a release build takes a tenth
        let bound = if text.len() < 10_000 { Duration::from_millis(100) } else { Duration::from_secs(2) };
        assert!(took < bound, "{name} took {took:?}");
    }
}

#[test]
fn ordinary_anchors_and_merges_still_work() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: &d {a: '1'}\nbinaryData: {<<: *d, b: '2'}\n";
    let objects = render(&[("app/x.yaml", text)]).unwrap().objects;
    assert_eq!(objects[0]["binaryData"], json!({"a": "1", "b": "2"}));
}

#[test]
fn an_empty_render_is_an_error_however_it_comes_about() {
    for files in [
        &[("app/readme.md", "x")][..],
        &[("app/a.yaml", "# only a comment\n")],
        &[("app/a.yaml", "---\n---\n")],
        &[("app/kustomization.yaml", "resources: []")],
        &[("app/kustomization.yaml", "")],
        &[("app/a.yaml", "apiVersion: v1\nkind: List\nitems: []\n")],
    ] {
        assert_eq!(reason(files), "EmptyRender", "{files:?}");
    }
}

#[test]
fn an_empty_file_beside_good_ones_is_left_out() {
    let objects = render(&[("app/a.yaml", &config_map("a")), ("app/b.yaml", "# nothing yet\n")]).unwrap().objects;
    assert_eq!(objects.len(), 1);
}

#[test]
fn objects_without_identity_are_refused() {
    for text in [
        "kind: ConfigMap\nmetadata: {name: x}\n",
        "apiVersion: v1\nmetadata: {name: x}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n",
        "apiVersion: v1\nkind: ConfigMap\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}\n",
        "apiVersion: v1\nkind: [ConfigMap]\nmetadata: {name: x}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, ownerReferences: [{kind: X, name: y, uid: z, apiVersion: v1}]}\n",
        "- a\n- b\n",
        "just text\n",
        "42\n",
    ] {
        let found = reason(&[("app/good.yaml", &config_map("a")), ("app/bad.yaml", text)]);
        assert!(matches!(found, "ObjectInvalid" | "RendererFailed"), "{text}: {found}");
    }
}

#[test]
fn lists_are_flattened_and_server_set_fields_are_left_out() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a, uid: u, resourceVersion: '1', creationTimestamp: null, generation: 2, managedFields: [{}]}\n  \
                status: {x: 1}\n- apiVersion: v1\n  kind: ConfigMapList\n  items:\n  - apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: b}\n";
    let render = render(&[("app/a.yaml", text)]).unwrap();
    assert_eq!(
        render.objects,
        [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}})
        ]
    );
    assert!(
        render.warnings.iter().any(|warning| warning.contains("ConfigMap a") && warning.contains("status")),
        "{:?}",
        render.warnings
    );
}

#[test]
fn faults_of_a_kustomization_have_reasons_of_their_own() {
    let with = |kustomization: &str| {
        reason(&[
            ("app/kustomization.yaml", kustomization),
            ("app/d.yaml", DEPLOYMENT),
            ("other/kustomization.yaml", "resources: [../app]"),
        ])
    };
    assert_eq!(with("resources: [d.yaml]\nresorces: [x]"), "KustomizationInvalid");
    assert_eq!(
        with("resources: [d.yaml]\npatches:\n- patch: |-\n    apiVersion: v1\n    kind: Service\n    metadata: {name: x}\n"),
        "PatchTargetMissing"
    );
    assert_eq!(with("resources: [d.yaml, ../other]"), "KustomizationInvalid");
    assert_eq!(with("resources: [d.yaml, d.yaml]"), "DuplicateObject");
    // kustomize repeats these in full
    assert_eq!(with("resources: [d.yaml]\nsecretGenerator: [{name: x, literals: [hunter2]}]"), "RendererFailed");
    assert_eq!(with("resources: [d.yaml]\npatches: [{patch: hunter2}]"), "RendererFailed");
    assert_eq!(
        with("resources: [d.yaml]\ngenerators:\n- |-\n  apiVersion: x/v1\n  kind: Foo\n  metadata: {name: x}\n"),
        "PluginRefused"
    );
}

#[test]
fn caps_on_objects_and_output_hold() {
    let many: String = (0..30).map(|n| format!("{}---\n", config_map(&format!("c{n}")))).collect();
    let with =
        |limits: RenderLimits| render_with(&Renderer { limits, ..renderer() }, &[("app/a.yaml", &many)]).unwrap_err().reason();
    assert_eq!(with(RenderLimits { max_objects: 20, ..RenderLimits::default() }), "TooLarge");
    assert_eq!(with(RenderLimits { max_object_bytes: 20, ..RenderLimits::default() }), "TooLarge");
    assert_eq!(with(RenderLimits { output_bytes: 100, ..RenderLimits::default() }), "RendererLimit");
}

#[test]
fn a_large_plain_directory_is_rendered_in_slices() {
    let files: Vec<(String, String)> = (0..40)
        .map(|file| {
            (format!("app/{file}.yaml"), (0..50).map(|n| format!("{}---\n", config_map(&format!("c{file}-{n}")))).collect())
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let objects = render(&files).unwrap().objects;
    assert_eq!(objects.len(), 2000);
    let sorted = |objects: &[Value]| {
        objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let names = sorted(&objects);
    assert!(names.is_sorted());
}

#[test]
fn warnings_of_kustomize_are_passed_on() {
    let files = [("app/kustomization.yaml", "resources: [d.yaml]\ncommonLabels: {a: b}"), ("app/d.yaml", DEPLOYMENT)];
    let warnings = render(&files).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("commonLabels") && warning.contains("deprecated")), "{warnings:?}");
}
