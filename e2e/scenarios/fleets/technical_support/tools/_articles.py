"""The knowledge base: with the agent, so that it is there without a connection."""

ARTICLES = {
    "printer jam": "Open the rear flap, pull the paper straight out, close the flap.",
    "router light": "Red: no line. Unplug the router for 30 seconds, then wait two minutes.",
    "till frozen": "Hold the power key for ten seconds. Open sales are kept.",
}
