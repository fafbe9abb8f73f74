"""LangChain, as its documentation uses it; address and key come from the environment."""

import json

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


@tool  # type: ignore[untyped-decorator]
def find_parcel() -> str:
    """Find a parcel."""
    return "here"


answer = ChatOpenAI(model="auto", max_tokens=5).invoke("Hello")
pieces = list(ChatOpenAI(model="auto", max_tokens=5).stream("Hello"))
caller = ChatOpenAI(model="gpt-5", default_headers={"x-script": "tool=1"}).bind_tools([find_parcel])
# Token ids instead of texts are for OpenAI's own models, whose tokenizer would have to be downloaded.
embeddings = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False)
found = {
    "tokens": answer.usage_metadata["output_tokens"],
    "pieces": len(pieces),
    "tool": caller.invoke("Hello").tool_calls[0]["name"],
    "vectors": len(embeddings.embed_documents(["a", "b"])),
}
print(json.dumps(found))
