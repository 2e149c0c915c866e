"""An applicant of the credit project, as a caller sends one: of what is missing, one column."""

ROW = {
    "status_of_existing_checking_account": "A11",
    "duration_in_month": 24,
    "credit_history": "A32",
    "credit_amount": 3000,
    "age_in_years": 30,
    "savings_account/bonds": "A61",
    "purpose": None,
}
