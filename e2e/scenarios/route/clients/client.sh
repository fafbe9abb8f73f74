#!/bin/sh
# curl, as OpenAI's documentation uses it; address and key come from the environment.
set -eu
post() {
  curl --silent --show-error --fail "$OPENAI_BASE_URL/$1" -H "Authorization: Bearer $OPENAI_API_KEY" \
    -H "Content-Type: application/json" -H "x-script: ${3-}" -d "$2"
}
messages='"messages":[{"role":"user","content":"Hello"}],"max_tokens":5'
tools='"tools":[{"type":"function","function":{"name":"find_parcel","parameters":{"type":"object","properties":{}}}}]'

tokens=$(post chat/completions "{\"model\":\"auto\",$messages}" | grep -o '"completion_tokens":[0-9]*' | cut -d: -f2)
pieces=$(post chat/completions "{\"model\":\"auto\",\"stream\":true,$messages}" | grep -c '^data: ')
tool=$(post chat/completions "{\"model\":\"gpt-5\",$messages,$tools}" tool=1 | grep -o '"name": "find_parcel"' | head -1)
vectors=$(post embeddings '{"model":"text-embedding-3-small","input":["a","b"]}' | grep -o '"embedding":\[' | wc -l)
listed=$(curl --silent --fail "$OPENAI_BASE_URL/models" -H "Authorization: Bearer $OPENAI_API_KEY" | grep -c '"id":"auto"')
echo "{\"tokens\":$tokens,\"pieces\":$pieces,${tool:+\"tool\":\"find_parcel\",}\"vectors\":$vectors,\"listed\":$([ "$listed" = 1 ] && echo true || echo false)}"
