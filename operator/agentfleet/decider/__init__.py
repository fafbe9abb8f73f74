"""The gateway's second process: intents, the document's service, rotation of keys, budgets, demand. HAProxy asks it;
no request of a client passes through it but /chat, /v1/batch-chat and /health."""
