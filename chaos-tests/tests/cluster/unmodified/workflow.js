// A step of a workflow on GitHub that reads secrets, request by request: the library, options and order of vault-action, whose
// bundle no package registry has. Logs in by role and by password, with and without a namespace, and reads what it selects.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const got = require("got").default;
const url = process.env.VAULT_ADDR;
const ca = fs.readFileSync(process.env.VAULT_CACERT);

// As the action makes it: one client to log in, another that shows the token.
function options(namespace) {
  const headers = namespace ? { "X-Vault-Namespace": namespace } : {};
  const statusCodes = [...got.defaults.options.retry.statusCodes, 412];
  const https = { certificateAuthority: ca.toString() };
  return { prefixUrl: url, headers, https, retry: { statusCodes } };
}

async function login(path, payload, namespace) {
  const client = got.extend(options(namespace));
  const answer = await client.post(`v1/auth/${path}`, { json: payload, responseType: "json" });
  const token = answer.body.auth.client_token;
  assert.ok(token && Array.isArray(answer.body.auth.policies));
  const shown = options(namespace);
  shown.headers["X-Vault-Token"] = token;
  return got.extend(shown);
}

async function secret(client, path, key) {
  const body = JSON.parse((await client.get(`v1/${path}`)).body);
  // The action looks for `data` within `data` to tell mounts with versions.
  return body.data.data === undefined ? body.data[key] : body.data.data[key];
}

// What an operator did before the workflow ran.
async function setUp(namespace) {
  const root = options(namespace);
  root.headers["X-Vault-Token"] = process.env.VAULT_TOKEN;
  const client = got.extend(root);
  const put = (path, json) => client.put(`v1/${path}`, { json });
  const auths = (await client.get("v1/sys/auth", { responseType: "json" })).body.data;
  const mounts = (await client.get("v1/sys/mounts", { responseType: "json" })).body.data;
  if (!mounts["ci/"]) await put("sys/mounts/ci", { type: "kv", options: { version: "2" } });
  if (!mounts["ci-old/"]) await put("sys/mounts/ci-old", { type: "kv" });
  if (!auths["ci-role/"]) await put("sys/auth/ci-role", { type: "approle" });
  if (!auths["ci-people/"]) await put("sys/auth/ci-people", { type: "userpass" });
  await put("sys/policies/acl/ci", { policy: 'path "ci/data/*" { capabilities = ["read"] }\npath "ci-old/*" { capabilities = ["read"] }' });
  await put("ci/data/stripe", { data: { "api-key": "sk_live\nwith two lines", nested: { a: 1 } } });
  await put("ci-old/stripe", { "api-key": "sk_old" });
  await put("auth/ci-role/role/app", { token_policies: "ci", token_ttl: "10m" });
  await put("auth/ci-people/users/ada", { password: "correct", token_policies: "ci" });
  const id = await client.get("v1/auth/ci-role/role/app/role-id", { responseType: "json" });
  const made = await client.put("v1/auth/ci-role/role/app/secret-id", { json: {}, responseType: "json" });
  return { role_id: id.body.data.role_id, secret_id: made.body.data.secret_id };
}

async function main() {
  const root = got.extend({ ...options(), headers: { "X-Vault-Token": process.env.VAULT_TOKEN } });
  await root.put("v1/sys/namespaces/ci-team", { json: {} });
  for (const namespace of [undefined, "ci-team"]) {
    const role = await setUp(namespace);
    const logins = [
      ["ci-role/login", role],
      ["ci-people/login/ada", { password: "correct" }],
    ];
    for (const [path, payload] of logins) {
      const client = await login(path, payload, namespace);
      assert.strictEqual(await secret(client, "ci/data/stripe", "api-key"), "sk_live\nwith two lines");
      assert.deepStrictEqual(await secret(client, "ci/data/stripe", "nested"), { a: 1 });
      assert.strictEqual(await secret(client, "ci-old/stripe", "api-key"), "sk_old");
      // `ignoreNotFound` asks for a plain 404; anything else fails the step.
      for (const [wrong, status] of [["ci/data/none", 404], ["ci/metadata/stripe", 403]]) {
        await assert.rejects(client.get(`v1/${wrong}`), (error) => error.response.statusCode === status);
      }
    }
  }
  await assert.rejects(login("ci-people/login/ada", { password: "wrong" }), (error) => error.response.statusCode === 400);
  console.log("done");
}

main().catch((error) => {
  console.error(error.stack, error.response && error.response.body);
  process.exit(1);
});
