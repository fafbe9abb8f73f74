"""The agent process: one Agent's pod. Nothing here talks to the Kubernetes API but the check of callers' tokens."""

import os

# The Agent Framework reads these when it is imported, which no module below does before this line: without them it
# tells every model server in the user-agent which of its features are in use.
os.environ.setdefault("AGENT_FRAMEWORK_USER_AGENT_DISABLED", "true")
os.environ.setdefault("AGENT_FRAMEWORK_FEATURE_MASK_DISABLED", "true")
