//! The arguments of an ingress-nginx as ours: what each becomes, and what is told where there is nothing that it could become.

use std::process::Command;

/// The configuration, what is told, and the exit code.
fn import(arguments: &[&str]) -> (toml::Table, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringress"));
    let output = command.args(["import", "ingress-nginx", "--"]).args(arguments).output().unwrap();
    let config = String::from_utf8(output.stdout).unwrap();
    (config.parse().unwrap(), String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

#[test]
fn arguments_become_keys_or_are_told() {
    for (argument, path, expected) in [
        ("--http-port=8080", "listeners.web.address", "\":8080\""),
        ("--https-port=8443", "listeners.websecure.address", "\":8443\""),
        ("--healthz-port=9000", "admin.address", "\":9000\""),
        ("--configmap=$(POD_NAMESPACE)/controller", "kubernetes.config_map", "\"${POD_NAMESPACE}/controller\""),
        ("--controller-class=k8s.io/other", "kubernetes.controllers", "{ \"k8s.io/other\" = \"ingress-nginx\" }"),
        ("--ingress-class=inside", "kubernetes.class_names", "{ inside = \"ingress-nginx\" }"),
        ("--watch-ingress-without-class", "kubernetes.without_class", "\"ingress-nginx\""),
        ("--watch-namespace=a", "kubernetes.namespaces", "[\"a\"]"),
        ("--watch-namespace-selector=team=blue", "kubernetes.namespace_selector", "\"team=blue\""),
        ("--default-backend-service=a/b", "kubernetes.default_backend", "\"a/b\""),
        ("--default-ssl-certificate=a/b", "kubernetes.default_certificate", "\"a/b\""),
        ("--publish-service=a/b", "kubernetes.publish_service", "\"a/b\""),
        (
            "--publish-status-address=192.0.2.1,192.0.2.2",
            "kubernetes.publish_addresses",
            "[\"192.0.2.1\", \"192.0.2.2\"]",
        ),
        ("--update-status=false", "kubernetes.write_status", "false"),
        ("--disable-svc-external-name", "kubernetes.external_names", "false"),
        ("--disable-catch-all=true", "kubernetes.catch_all", "\"ignored\""),
        ("--election-id=leader", "kubernetes.lease", "\"${POD_NAMESPACE}/leader\""),
    ] {
        // A value may stand behind its name as well.
        let apart: Vec<&str> = argument.splitn(2, '=').collect();
        let is_switch = ["true", "false"].contains(apart.last().unwrap());
        if !is_switch && apart.len() == 2 {
            let both = [import(&[argument]), import(&apart)].map(|(config, ..)| config);
            assert_eq!(both[0], both[1], "{argument}");
        }
        let (config, _, code) = import(&["/nginx-ingress-controller", argument]);
        let value = path.split('.').try_fold(toml::Value::Table(config), |at, key| at.get(key).cloned());
        let table: toml::Table = format!("value = {expected}").parse().unwrap();
        assert_eq!((value.as_ref(), code), (table.get("value"), 0), "{argument}");
    }
    for (argument, code, told) in [
        ("--v=2", 0, "--log-level"),
        ("--validating-webhook=:8443", 0, "there is no webhook"),
        ("--enable-ssl-passthrough=false", 0, "nothing is said by it"),
        ("--enable-ssl-passthrough", 1, "not imported: TLS is not passed on by name"),
        ("--tcp-services-configmap=a/b", 1, "not imported: services of TCP are not built"),
        ("--annotations-prefix=x.io", 1, "not imported: annotations begin with nginx.ingress.kubernetes.io/"),
        ("--no-such-thing", 1, "not imported: ingress-nginx has no argument of this name"),
    ] {
        let (_, said, ended) = import(&[argument]);
        assert!(ended == code && said.contains(told), "{argument}: {ended} {said}");
    }
}
