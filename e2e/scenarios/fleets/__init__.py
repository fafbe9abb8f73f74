"""Example fleets: each folder is one as a user would keep it, with manifests, tools and one test."""
