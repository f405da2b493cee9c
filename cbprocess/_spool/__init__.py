"""The spool: files on disk between what is seen and what is shipped. cbprocess.spool is its front."""
