threads 4, 4
persistent_timeout 1 # seconds until an idle connection is closed
max_fast_inline 3    # requests of one connection in a row
