"""The command `kintsugi`: the jobs by short names, and what is no job."""
