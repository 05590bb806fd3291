"""Where data are found: archives, downloads, caches and prepared folders."""
