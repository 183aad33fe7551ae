# Commands of published guides to key management, as they stand there.
set -e
vault namespace create development
vault secrets enable -namespace=development -path=api-keys kv-v2
vault secrets enable -namespace=development -path=service-credentials kv-v2
cat > developer-api-policy.hcl << EOF
path "development/api-keys/*" {
capabilities = ["read", "list"]
}
path "development/api-keys/team-*" {
capabilities = ["read"]
}
EOF
vault policy write developer-api-policy developer-api-policy.hcl
vault kv put development/api-keys/stripe api_key="sk_1" rotated_at="$(date -u +"%Y-%m-%dT%H:%M:%SZ")"
vault kv put development/service-credentials/postgres connection_string=postgres://x
cat > get-api-key.sh << 'EOF'
SERVICE="${1:-default}"
ENV="${2:-development}"
if ! vault status >/dev/null 2>&1; then
echo "Error: Not authenticated with Vault"
exit 1
fi
API_KEY=$(vault kv get -field=api_key "${ENV}/api-keys/${SERVICE}" 2>/dev/null)
if [ -z "$API_KEY" ]; then
echo "Error: No API key found for ${SERVICE} in ${ENV}"
exit 1
fi
export API_KEY
EOF
source ./get-api-key.sh stripe development
echo "KEY=$API_KEY"
cat > .env.local << EOF
DATABASE_URL=$(vault kv get -field=connection_string development/service-credentials/postgres)
EOF
cat .env.local
bash get-api-key.sh nosuch development || echo "code $?"
vault secrets list
vault kv put secret/api-keys/openai \
  api_key="sk-proj" \
  organization="your-org-id"
vault kv put secret/api-keys/openai api_key=2 organization=o
vault kv get -format=json secret/api-keys/openai | grep -c '"api_key": "2"'
vault kv list secret/
vault kv metadata get secret/api-keys/openai
vault kv get -version=1 secret/api-keys/openai
vault kv delete -versions=1,2 secret/api-keys/openai
vault kv undelete -versions=2 secret/api-keys/openai
vault kv destroy -versions=1 secret/api-keys/openai
vault kv patch secret/api-keys/openai redis_url="redis://cache.example.com:6379"
vault policy write myapp-policy - <<EOF
path "secret/data/myapp/*" {
  capabilities = ["read"]
}
EOF
vault auth enable userpass
vault write auth/userpass/users/myapp-user \
  password="secure-password" \
  policies="myapp-policy"
VAULT_TOKEN= vault login -method=userpass username=myapp-user password=secure-password > login.txt
echo DONE
