# A published guide to API keys for remote teams: its commands in its order, as they stand there, but for logins by GitHub and what
# needs a cloud. What it takes for given stands under `## Given`, what is asked of it here under `## Asked`.
set -e
## Given: a tool that makes keys.
printf '#!/bin/sh\nprintf sk_rotated\n' > bin/stripe
chmod +x bin/stripe

# Create namespaces for different teams
vault namespace create development
vault namespace create platform
vault namespace create security
# Within each namespace, create secret paths
vault secrets enable -namespace=development -path=api-keys kv-v2
vault secrets enable -namespace=development -path=service-credentials kv-v2

cat > developer-api-policy.hcl << 'FILE'
# developer-api-policy.hcl
path "development/api-keys/*" {
capabilities = ["read", "list"]
}
path "development/api-keys/team-*" {
capabilities = ["read"]
}
# Developers cannot delete or rotate keys
path "development/api-keys/*" {
capabilities = ["delete", "update", "create"]
}
FILE
vault policy write developer-api-policy developer-api-policy.hcl

## Given: a developer who is logged in, and the secrets.
DEVELOPER=$(vault token create -policy=developer-api-policy -field=token)
vault kv put development/api-keys/stripe api_key=sk_first
vault kv put development/api-keys/sendgrid api_key=sg_first
vault kv put development/service-credentials/postgres connection_string=postgres://db

cat > get-api-key.sh << 'FILE'
#!/bin/bash
# get-api-key.sh - Fetch API key from Vault for use in development
SERVICE="${1:-default}"
ENV="${2:-development}"
# Verify Vault is accessible
if ! vault status >/dev/null 2>&1; then
echo "Error: Not authenticated with Vault"
echo "Run: vault login -method=github"
exit 1
fi
# Fetch the secret and extract just the API key
API_KEY=$(vault kv get -field=api_key "${ENV}/api-keys/${SERVICE}" 2>/dev/null)
if [ -z "$API_KEY" ]; then
echo "Error: No API key found for ${SERVICE} in ${ENV}"
exit 1
fi
# Export to environment variable (not saved to any file)
export API_KEY
echo "API_KEY exported to current shell environment"
FILE
## Asked: it sets the developer's key, and says so where there is none. A script that is sourced ends its shell.
VAULT_TOKEN=$DEVELOPER bash -c 'source get-api-key.sh stripe; echo "first: $API_KEY"'
VAULT_TOKEN=$DEVELOPER bash -c 'source get-api-key.sh stripe production' || echo "production: $?"

cat > generate-env.sh << 'FILE'
#!/bin/bash
# generate-env.sh - Create .env from Vault secrets
cat > .env.local << EOF
# Auto-generated - do not commit to version control
# Generated at $(date -u +"%Y-%m-%dT%H:%M:%SZ")
STRIPE_API_KEY=$(vault kv get -field=api_key development/api-keys/stripe)
SENDGRID_API_KEY=$(vault kv get -field=api_key development/api-keys/sendgrid)
DATABASE_URL=$(vault kv get -field=connection_string development/service-credentials/postgres)
EOF
echo ".env.local generated successfully"
FILE
bash generate-env.sh
## Asked
grep = .env.local

# Rotate Stripe API key and update Vault
#!/bin/bash
NEW_KEY=$(stripe api_key create --raw)
vault kv put development/api-keys/stripe api_key="$NEW_KEY" rotated_at="$(date -u +"%Y-%m-%dT%H:%M:%SZ")"

## Asked: the developer reads it by the path and by the namespace, and no other secret.
export VAULT_TOKEN=$DEVELOPER
echo "path: $(vault kv get -field=api_key development/api-keys/stripe)"
echo "header: $(vault kv get -namespace=development -field=api_key api-keys/stripe)"
vault kv get development/service-credentials/postgres || echo "others: $?"
echo DONE
