-- Parts of a release are read back by several workers before the whole is verified.

alter table released_object
    add column read_back_at   timestamptz,    -- begun then, and the bytes in the bucket were right
    add column read_back_etag text;           -- of those bytes; another one in the bucket's list means other bytes
