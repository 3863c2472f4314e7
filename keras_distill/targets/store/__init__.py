"""The format of a store on disk: its files, shards, manifest, keys and encoding, and the class that reads them."""
