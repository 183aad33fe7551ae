"""Compares what the chart renders with the plain manifests: the same resources, apart from what Helm adds.

usage: same.py RENDERED RULES MANIFEST...      RULES: the rendered text has the resources of the Prometheus operator too
Writes the resources that Kubernetes itself knows to RENDERED.kubernetes.
"""

import sys

import yaml

# What Helm says of itself, and what tells releases apart.
HELMS = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}
# Stated by the chart, and what Kubernetes takes if it is not.
USUAL = {"imagePullPolicy": "IfNotPresent"}


def plain(value):
    """Without what Helm adds."""
    if isinstance(value, dict):
        return {
            key: plain(inner)
            for key, inner in value.items()
            if key not in HELMS and USUAL.get(key) != inner
        }
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def resources(path):
    with open(path, encoding="utf-8") as file:
        return [resource for resource in yaml.safe_load_all(file) if resource]


def main():
    rendered_path, with_rules, manifests = sys.argv[1], sys.argv[2] == "rules", sys.argv[3:]
    rendered = resources(rendered_path)
    known = {}
    for path in manifests:
        for resource in resources(path):
            resource["metadata"]["namespace"] = "conclave"
            known[resource["kind"], resource["metadata"]["name"]] = plain(resource)
    for resource in rendered:
        name = resource["kind"], resource["metadata"]["name"]
        expected = known.pop(name, None)
        if expected is None:
            sys.exit(f"the chart alone has {name}")
        if plain(resource) != expected:
            sys.exit(f"{name} differs:\n{yaml.dump(plain(resource))}\n--- manifest\n{yaml.dump(expected)}")
    if known:
        sys.exit(f"the manifests alone have {sorted(known)}")
    own = [resource for resource in rendered if "monitoring.coreos.com" not in resource["apiVersion"]]
    if with_rules != (len(own) < len(rendered)):
        sys.exit("resources of the Prometheus operator are there unasked, or not there")
    with open(f"{rendered_path}.kubernetes", "w", encoding="utf-8") as file:
        yaml.safe_dump_all(own, file)


if __name__ == "__main__":
    main()
