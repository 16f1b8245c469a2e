import json,time
def test_up(feed):
    t=time.time()
    sent = feed.send([(b"k", json.dumps({"event_time":"2024-12-17 10:00:00","tenant_id":"t","service":"PGR","entity_id":str(i),"event_type":"CaseSubmitted"}).encode(), None) for i in range(100)])
    print("send",time.time()-t); t=time.time()
    p=feed.drain(); out,_=p.communicate(); print(out, p.returncode,time.time()-t); t=time.time()
    feed.stack.sql("select 1")
    from lakehouse.ledger.dead_letters import DeadLetters
    d=feed.discrepancies(sent); print(d,time.time()-t)
    assert not d
