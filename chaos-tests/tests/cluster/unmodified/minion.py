"""Salt's extension for Vault does what a minion and its operator ask of it: keys and values, policies, a role, its login."""

import os
import tempfile

import salt.client
import salt.config

FOLDER = tempfile.mkdtemp(prefix="salt-", dir=os.environ["HOME"])


def minion(auth):
    """A minion without a master that logs in like this; what it calls."""
    options = salt.config.minion_config(None)
    folders = {name: f"{FOLDER}/{name}" for name in ("cachedir", "pki_dir", "sock_dir", "extension_modules")}
    server = {"url": os.environ["VAULT_ADDR"], "verify": os.environ["VAULT_CACERT"]}
    vault = {"auth": auth, "server": server, "config_location": "local"}
    options.update(folders, root_dir=FOLDER, file_client="local", id="minion", grains={}, vault=vault)
    return salt.client.Caller(mopts=options).cmd


call = minion({"method": "token", "token": os.environ["VAULT_TOKEN"]})
assert call("vault.write_secret", "secret/salt/one", a="1")["version"] >= 1
assert call("vault.read_secret", "secret/salt/one") == {"a": "1"}
assert call("vault.patch_secret", "secret/salt/one", b="2")["version"] >= 2
assert call("vault.read_secret", "secret/salt/one", "b") == "2"
assert call("vault.list_secrets", "secret/salt", keys_only=True) == ["one"]
rules = 'path "secret/data/salt/*" { capabilities = ["read"] }'
assert call("vault.policy_write", "salt", rules) is True
assert "salt" in call("vault.policies_list")
if "salt/" not in call("vault.query", "GET", "sys/auth")["data"]:
    call("vault.query", "POST", "sys/auth/salt", payload={"type": "approle"})
role = {"token_policies": "salt", "token_ttl": "10m"}
call("vault.query", "POST", "auth/salt/role/minion", payload=role)
role_id = call("vault.query", "GET", "auth/salt/role/minion/role-id")["data"]["role_id"]
secret_id = call("vault.query", "POST", "auth/salt/role/minion/secret-id", payload={})["data"]["secret_id"]
own = minion({"method": "approle", "approle_mount": "salt", "role_id": role_id, "secret_id": secret_id})
assert own("vault.read_secret", "secret/salt/one", "a") == "1"
assert not own("vault.write_secret", "secret/salt/one", a="x")
assert call("vault.delete_secret", "secret/salt/one") is True
print("done")
