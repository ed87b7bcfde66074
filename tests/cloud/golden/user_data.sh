#!/bin/bash
set -euo pipefail
printf '%s\n' '{"training":{"training_type":"sac"},"aws":{"region":"us-east-2","project_name":"f1tenth"}}' > /run/f1tenth/config.yaml
cat > /run/f1tenth/run.env <<'END'
F1TENTH_ON_INSTANCE=1
F1TENTH_RUN=lap-record
F1TENTH_LAUNCH=1
F1TENTH_STORE=s3://f1tenth-123456789012-us-east-2
F1TENTH_CONFIG=/run/f1tenth/config.yaml
F1TENTH_TRAIN_ARGS=--resume lap-record
F1TENTH_MAX_HOURS=4.970
F1TENTH_KEEP_ON_FAILURE_S=1800
F1TENTH_WANDB_PARAMETER=/f1tenth/wandb-api-key
F1TENTH_TENSORBOARD_HOST=127.0.0.1
AWS_DEFAULT_REGION=us-east-2
END
exec /usr/local/bin/f1tenth-fetch s3://f1tenth-123456789012-us-east-2/scripts/abababababababababababababababababababababababababababababababab.tar.gz
