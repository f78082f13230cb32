"""What is pushed and to whom (`pushes`), on which channels (`channels`), and who may listen there (`entitlement`)."""
