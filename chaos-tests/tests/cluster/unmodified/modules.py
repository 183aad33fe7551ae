"""Ansible's modules for Vault, run one by one as Ansible runs them: a document on standard input, one on standard output."""

import json
import os
import subprocess
import sys

COMMON = {
    "url": os.environ["VAULT_ADDR"],
    "ca_cert": os.environ["VAULT_CACERT"],
    "token": os.environ["VAULT_TOKEN"],
}


def module(called, **arguments):
    document = json.dumps({"ANSIBLE_MODULE_ARGS": {**COMMON, **arguments}})
    command = [sys.executable, "-m", f"ansible.modules.hashivault.hashivault_{called}"]
    ran = subprocess.run(command, input=document, capture_output=True, text=True, check=False)
    answer = json.loads(ran.stdout or "{}")
    assert ran.returncode == 0 and not answer.get("failed"), f"{called}: {ran.stdout}{ran.stderr}"
    return answer


module("secret_engine", name="ansible", backend="kv", options={"version": "2"})
module("write", mount_point="ansible", secret="app/one", data={"a": "1"}, version=2)
assert module("read", mount_point="ansible", secret="app/one", key="a", version=2)["value"] == "1"
assert module("list", mount_point="ansible", secret="app", version=2)["secrets"] == ["one"]
rules = 'path "ansible/data/app/*" { capabilities = ["read"] }'
module("acl_policy", name="ansible", rules=rules)
assert "ansible" in module("acl_policy_list")["policies"]
module("delete", mount_point="ansible", secret="app/one", version=2)
module("secret_engine", name="ansible", backend="kv", state="absent")
print("done")
