"""What tests share: the miniature of the model, folders of photographs, clusters, servers."""
