-- A request that we ended ourselves while it was under way: neither the source nor anything on the way failed.
insert into reason (reason_code, step, meaning, advice) values
    ('interrupted', 'received', 'We ended the request for it ourselves: the retrieval was paused or cancelled, the hours of the PACS ended, somebody more urgent was let through, or the slot was lost.', 'It is asked for when the retrieval goes on. Resume a paused or cancelled one on the page PACS.');
