# A published guide to storing API keys with Vault: its commands in its order, as they stand there. What it takes for given stands
# under `## Given`, what is asked of it here under `## Asked`.
set -e
vault secrets list
# Enable KV v2 (recommended for production)
vault secrets enable -path=secret kv-v2

# Verify successful enablement
vault secrets list

# Store OpenAI API key
vault kv put secret/api-keys/openai \
  api_key="sk-proj-your-openai-key-here" \
  organization="your-org-id"

# Store Anthropic API key  
vault kv put secret/api-keys/anthropic \
  api_key="your-anthropic-key-here"

# Store additional service credentials
vault kv put secret/api-keys/github \
  token="ghp_your-github-token" \
  username="your-github-username"

# Database credentials
vault kv put secret/myapp/database \
  username="db_admin" \
  password="secure_db_password" \
  host="db.example.com" \
  port="5432"

# Application settings
vault kv put secret/myapp/config \
  app_secret="your-app-secret-key" \
  jwt_secret="jwt-signing-key" \
  encryption_key="aes-256-key"

vault kv put secret/api-keys/stripe \
  api_key="sk_live_your-stripe-key" \
  webhook_secret="whsec_webhook-secret" \
  created_date="2025-09-25" \
  environment="production" \
  owner="finance-team"

# Get full secret with metadata
vault kv get secret/api-keys/openai

# Get secret in JSON format (useful for automation)
vault kv get -format=json secret/api-keys/openai

# Get only the API key value
vault kv get -field=api_key secret/api-keys/openai

# Get database password
vault kv get -field=password secret/myapp/database

# Store value in environment variable
export OPENAI_API_KEY=$(vault kv get -field=api_key secret/api-keys/openai)
## Asked
printf '\nexported: %s\n' "$OPENAI_API_KEY"

# List all secrets in the root
vault kv list secret/

# List secrets in specific directories
vault kv list secret/api-keys/
vault kv list secret/myapp/

# View secret metadata and versions
vault kv metadata get secret/api-keys/openai

# Get specific version
vault kv get -version=1 secret/api-keys/openai

# Update secret (creates new version)
vault kv put secret/api-keys/openai \
  api_key="sk-proj-updated-key" \
  organization="new-org-id"

# Check version history
vault kv metadata get secret/api-keys/openai

## Given: an old service of three versions.
for key in 1 2 3; do vault kv put secret/api-keys/old-service api_key=$key; done

# Soft delete (recoverable)
vault kv delete secret/api-keys/old-service

# Delete specific versions
vault kv delete -versions=1,2 secret/api-keys/openai

# Permanently destroy versions (irreversible)
vault kv destroy -versions=1,2 secret/api-keys/openai

# Undelete soft-deleted secret
vault kv undelete -versions=3 secret/api-keys/old-service

## Asked
echo "undeleted: $(vault kv get -field=api_key secret/api-keys/old-service)"
vault kv get secret/api-keys/openai

# Update only the API key, preserve other fields
vault kv patch secret/api-keys/stripe \
  api_key="sk_live_new-stripe-key"

# Add new field to existing secret
vault kv patch secret/myapp/config \
  redis_url="redis://cache.example.com:6379"
## Asked
echo "patched: $(vault kv get -field=owner secret/api-keys/stripe) $(vault kv get -field=jwt_secret secret/myapp/config)"

## Given: a key of openai's, for the guide has destroyed both versions, and an application.
vault kv put secret/api-keys/openai api_key=sk-proj-third
printf '#!/bin/sh\necho "application: $OPENAI_API_KEY $ANTHROPIC_API_KEY $DB_USERNAME $DB_PASSWORD $DB_HOST"\n' > start-application.sh
chmod +x start-application.sh

cat > load-secrets.sh << 'FILE'
#!/bin/bash
# load-secrets.sh

# Load API keys
export OPENAI_API_KEY=$(vault kv get -field=api_key secret/api-keys/openai)
export ANTHROPIC_API_KEY=$(vault kv get -field=api_key secret/api-keys/anthropic)

# Load database credentials  
export DB_USERNAME=$(vault kv get -field=username secret/myapp/database)
export DB_PASSWORD=$(vault kv get -field=password secret/myapp/database)
export DB_HOST=$(vault kv get -field=host secret/myapp/database)

# Start application with loaded secrets
./start-application.sh
FILE
bash load-secrets.sh

cat > application.py << 'FILE'
import subprocess
import os

def get_vault_secret(path, field):
    """Retrieve secret from Vault"""
    result = subprocess.run([
        'vault', 'kv', 'get', '-field=' + field, path
    ], capture_output=True, text=True)
    
    if result.returncode == 0:
        return result.stdout.strip()
    else:
        raise Exception(f"Failed to retrieve secret: {result.stderr}")

# Usage
openai_key = get_vault_secret('secret/api-keys/openai', 'api_key')
db_password = get_vault_secret('secret/myapp/database', 'password')
FILE
## Asked
echo 'print("python:", openai_key, db_password)' >> application.py
python3 application.py

# Check if using correct KV version
vault kv get secret/mykey || echo "missing: $?"  # KV v2 (recommended)
# List available secrets to verify path
vault kv list secret/
# Check if secret exists in different location
vault kv list secret/api-keys/

# Create policy for application access
vault policy write myapp-policy - <<EOF
path "secret/data/myapp/*" {
  capabilities = ["read"]
}
path "secret/data/api-keys/openai" {
  capabilities = ["read"]
}
EOF

## Given
vault auth enable userpass
# Apply policy to authentication method
vault write auth/userpass/users/myapp-user \
  password="secure-password" \
  policies="myapp-policy"
## Asked
MYAPP=$(VAULT_TOKEN= vault login -no-store -token-only -method=userpass username=myapp-user password=secure-password)
echo "its own: $(VAULT_TOKEN=$MYAPP vault kv get -field=api_key secret/api-keys/openai)"
VAULT_TOKEN=$MYAPP vault kv get secret/api-keys/anthropic || echo "denied: $?"

if [ -z "$NO_AUDIT" ]; then
# Enable audit logging
vault audit enable file file_path=/vault/logs/audit.log
## Given: somebody who reads.
vault kv get secret/myapp/config
## Asked: what `tail -f` would show by now.
# Monitor secret access patterns
tail -n +1 /vault/logs/audit.log | grep "secret/data" | grep -q '"type":"response"' && echo "audited"
fi

# Template for service API keys
vault kv put secret/templates/api-service \
  api_key="REPLACE_WITH_ACTUAL_KEY" \
  environment="REPLACE_WITH_ENV" \
  owner="REPLACE_WITH_TEAM" \
  created_date="REPLACE_WITH_DATE"

# Database dynamic secrets (requires database secrets engine)
vault secrets enable database
## Asked: it asks the database, and there is none.
vault write database/config/my-database \
  plugin_name=mysql-database-plugin \
  connection_url="root:password@tcp(localhost:1)/" \
  allowed_roles="my-role" || echo "no database: $?"
echo DONE
