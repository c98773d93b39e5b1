INSERT INTO quadruplets (quadruplet_id, release_id, candidate_id, reference_id, round)
SELECT value ->> 'quadruplet_id', value ->> 'release_id', value ->> 'candidate_id', value ->> 'reference_id',
    value ->> 'round'
FROM json_each(?1)
WHERE true
ON CONFLICT (quadruplet_id, release_id) DO UPDATE SET
    candidate_id = excluded.candidate_id, reference_id = excluded.reference_id, round = excluded.round
